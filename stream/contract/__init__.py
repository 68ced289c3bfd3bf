"""The records that cross the border, as `CONTRACT` names them; nothing here talks to a broker."""
