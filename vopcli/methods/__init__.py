"""The variants: prompts, adapters and selections of the backbone's tensors."""
