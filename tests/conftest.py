import fastreid_ext  # noqa: F401  before anything imports fastreid
