"""Erasing persons: accepting who is named, holding them, sweeping, proving it, and showing what is held on somebody."""
