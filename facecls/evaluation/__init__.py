"""From scores to judgement."""
