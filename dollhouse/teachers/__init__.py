"""Who answers, and how answers are kept. Knows nothing of the student."""
