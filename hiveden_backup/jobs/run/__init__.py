"""One run of a job, from validation to publishing."""
