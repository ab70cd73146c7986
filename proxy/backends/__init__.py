"""Where images are kept, and what else of a relay depends on that."""
