"""What a finished set says of itself: card, distribution, preview, copies."""
