"""Trained models: what they learn from, how they are trained, stored and asked."""
