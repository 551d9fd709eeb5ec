"""From files to batches: data sets, sampling, loaders, and checks before training.

In the order in which a run uses the modules:

1. Which images: ``configured_sets`` opens the data sets that the configuration names, of
   ``datasets``, ``own_sets`` and ``csv_dataset``. ``subsets``, ``published_splits`` and
   ``hash_shuffle`` keep a share of a training split; ``protocols`` plans which sets to train and
   test on.
2. Lists of images: an item is (path, pid, camid). ``item_arrays`` holds millions of items,
   ``named_items`` finds them by name, ``generated_items`` makes them of generated sets.
3. Which image next: ``samplers``, ``large_samplers`` for very large sets, and ``mixed_batches`` for
   batches with a share of generated images.
4. Pixels: ``dataset`` makes a sample of an item with ``decode`` or the ``packed`` images that
   ``packing`` wrote, and ``transforms``.
5. Batches: ``loaders``, ``joined`` loaders of several sets, and ``build`` for those of a run.
6. Checks before a run: ``preflight`` calls ``image_check``, ``sampler_checks`` and ``left_out``.
"""
