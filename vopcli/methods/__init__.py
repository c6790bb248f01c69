"""The tuning methods: prompts, adapters, and what each variant trains."""
