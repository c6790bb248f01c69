"""The tuning methods: prompts, adapters and selections of the backbone's tensors."""
