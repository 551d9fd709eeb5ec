"""Description of a finished set: card, distribution, preview, copies with other decisions."""
