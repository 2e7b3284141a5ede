"""How the official profiles are made. Run from a checkout; not part of the installed package."""
