"""Whether an endpoint behaves like the API that OpenAI clients expect."""
