"""What runs beside a fleet: reports, rollouts and watches."""
