"""Profiles on the Hugging Face Hub: one dataset repository a profile, one tag `vX.Y.Z` a version, which never changes.

`huggingface_hub` is imported where a Hub is asked, not before: it costs a second.
"""
