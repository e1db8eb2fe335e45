"""Experiments: which pretraining helps on a folder, and from how few annotations on."""
