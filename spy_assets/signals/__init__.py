"""Signals: the contract, how one is built, its risk rules, what became of it, and how it reads."""
