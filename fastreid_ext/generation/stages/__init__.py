"""The stages of a job, from the identities to the filtered set, and the job as a whole."""
