"""Prompts: learned tokens put between the layers of the frozen towers (VoP, section 3)."""
