"""What components exchange: folders, their schemas, and how they are read and written."""
