"""Figures: maps and charts."""
