"""A real Kubernetes on one machine, and the tests of weavemesh on it. See README.md."""
