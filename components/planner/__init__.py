"""Planner: splits the estimates of a store over several tasks."""
