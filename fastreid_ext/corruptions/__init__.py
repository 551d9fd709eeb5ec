"""The corruptions of ImageNet-C, and rain: ``cpu`` image by image, ``gpu`` batch by batch."""
