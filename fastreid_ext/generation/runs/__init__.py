"""What every stage stands on: files of a job, its disk, its workers, its seeds."""
