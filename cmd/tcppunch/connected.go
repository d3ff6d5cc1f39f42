package main

import (
	"fmt"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch"
)

// connected tells the path and, where there was a room, how long what took.
func (o *output) connected(p tcppunch.Path, ph *phases) {
	setup := time.Since(o.started)
	o.event("connected", struct {
		Network   string             `json:"network"`
		Kind      tcppunch.Kind      `json:"kind"`
		Local     string             `json:"local"`
		Remote    string             `json:"remote"`
		Technique tcppunch.Technique `json:"technique"`
		Round     int                `json:"round"`
		PunchMS   float64            `json:"punch_ms"`
		SetupMS   float64            `json:"setup_ms"`
		RTTMS     float64            `json:"rtt_ms"`
		Phases    *phases            `json:"phases,omitempty"`
	}{p.Network, p.Kind, p.Local.String(), p.Remote.String(), p.Technique, p.Round, ms(p.Punch), ms(setup), ms(p.RTT), ph})
	by := "TCP"
	if p.Network == "kcp" {
		by = "UDP (KCP)"
	}
	o.say("Connected by %s, directly, to %v (%.2f s, round trip %s)", by, p.Remote, p.Punch.Seconds(), roundTrip(p.RTT))
	o.detail("path: %v", p)
	if ph != nil {
		o.detail("phases: %v", ph)
	}
}

func ms(d time.Duration) float64 { return float64(d.Round(10*time.Microsecond)) / 1e6 }

func roundTrip(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", ms(d))
	}
	return fmt.Sprintf("%.0f ms", ms(d))
}
