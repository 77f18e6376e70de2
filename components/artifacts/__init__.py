"""The folders that components exchange: their schemas, readers and writers."""
