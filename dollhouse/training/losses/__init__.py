"""Losses: functions from predictions and targets to a scalar, the mean over known targets."""
