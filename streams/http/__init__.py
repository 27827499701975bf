"""The HTTP service of a worker and of the learner: who may ask, what is asked, what Prometheus reads."""
