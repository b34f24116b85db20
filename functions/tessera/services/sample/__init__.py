"""Samples: asked for, or due after a change; plan -> count, share by share -> settle (contract: profile-api §4)."""
