"""The inbox: what is pending, and what a run claims of it."""
