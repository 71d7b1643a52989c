"""Make the leaderboard, the report's page and descriptions."""
