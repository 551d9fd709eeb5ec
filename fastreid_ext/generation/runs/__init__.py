"""Ground of all stages: files of a job, its disk, its workers, its seeds."""
