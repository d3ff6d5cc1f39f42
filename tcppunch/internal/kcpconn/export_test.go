package kcpconn

// RaceEnabled is raceEnabled.
const RaceEnabled = raceEnabled
