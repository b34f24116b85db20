"""Streamed messages: received at an inlet, judged, written to the profile store, and gathered in the lake."""
