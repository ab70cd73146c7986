"""Threads, tasks, memory and files, for a service that runs in one event loop."""
