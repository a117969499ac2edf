"""Many files over many workers: several devices of one machine, or a cluster by Ray; folders or fsspec URLs."""
