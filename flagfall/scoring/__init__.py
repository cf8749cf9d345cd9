"""Scoring: features, engines and drift."""
