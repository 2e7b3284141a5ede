"""The loss inside other people's trainers: one file per trainer, imported by its user alone.

`dft_stats.adapters.transformers.attach(trainer, loss)` is for the Hugging Face `Trainer`.
"""
