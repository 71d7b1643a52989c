"""What may go wrong outside of linfit, done to real processes: kills, crashes at a flush, crowds, lost replies, full disks."""
