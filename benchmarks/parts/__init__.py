"""What the parts of a fleet cost: stages, checks, codecs, histories, reasons, pauses."""
