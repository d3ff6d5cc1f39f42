package tcppunch

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/tcppunch/tcppunch/tcppunch/internal/udppunch"
)

// What goes through a Signaler:
//
//	offerer (SideA)                     answerer (SideB)
//	  |------ offer, round 0 ------------->|  opens lane 0
//	  |<----- answer ----------------------|
//	  |  opens lane 1, dials lane 0        |
//	  |------ go ------------------------->|  dials lane 1
//	  |<----- pong ------------------------|
//	  |------ sync ----------------------->|  both dial lane 2
//	  |------ offer, round 1 ------------->|  …

const (
	typeOffer  = "offer"
	typeAnswer = "answer"
	typeGo     = "go"
	typePong   = "pong"
	typeSync   = "sync"

	typeUnknown = ""
)

// Bounds of what a peer may say.
const (
	maxMessage = 16 << 10
	maxLanes   = 8
	maxMapped  = 4
	maxRound   = 15
)

// A message is what one Send of a Signaler carries.
type message struct {
	Type  string `json:"type"`
	Round int    `json:"round"`
	// Last says, in an offer, that no further round will come.
	Last bool `json:"last,omitempty"`
	// Fingerprint is SHA-256 of the certificate, in offers and answers.
	Fingerprint []byte `json:"fingerprint,omitempty"`
	// Report is about TCP, and UDP, where that is used, about UDP.
	Report *report `json:"report,omitempty"`
	UDP    *report `json:"udp,omitempty"`
	// ICE authenticates the checks of UDP paths.
	ICE *udppunch.Credentials `json:"ice,omitempty"`
}

func (m message) encode() ([]byte, error) { return json.Marshal(m) }

var errMessage = errors.New("bad message from the peer")

// decodeMessage checks all of what a peer said that anything depends on.
func decodeMessage(b []byte) (message, error) {
	var m message
	if len(b) > maxMessage {
		return m, fmt.Errorf("%w: %d bytes", errMessage, len(b))
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%w: %w", errMessage, err)
	}
	if m.Round < 0 || m.Round > maxRound {
		return m, fmt.Errorf("%w: round %d", errMessage, m.Round)
	}
	switch m.Type {
	case typeGo, typePong, typeSync:
		return m, nil
	case typeOffer, typeAnswer:
		return m, m.checkReports()
	}
	return message{Type: typeUnknown}, nil // of a later version: for nobody here
}

func (m *message) checkReports() error {
	if len(m.Fingerprint) != len(fingerprint{}) {
		return fmt.Errorf("%w: fingerprint of %d bytes", errMessage, len(m.Fingerprint))
	}
	if m.Report == nil || m.UDP == nil && len(m.Report.Lanes) == 0 || m.UDP != nil && len(m.UDP.Lanes) == 0 {
		return fmt.Errorf("%w: no addresses", errMessage)
	}
	if m.UDP != nil && (m.ICE == nil || !m.ICE.Valid()) {
		return fmt.Errorf("%w: UDP addresses without credentials", errMessage)
	}
	for _, r := range []*report{m.Report, m.UDP} {
		if r == nil {
			continue
		}
		if err := r.check(); err != nil {
			return err
		}
	}
	return nil
}

func (r *report) check() error {
	if len(r.Lanes) > maxLanes || len(r.Hosts) > maxHosts {
		return fmt.Errorf("%w: too many addresses", errMessage)
	}
	r.NAT = r.NAT.known()
	if err := r.Sequence.check(); err != nil {
		return fmt.Errorf("%w: %w", errMessage, err)
	}
	for i, h := range r.Hosts {
		r.Hosts[i] = h.Unmap().WithZone("")
		if !r.Hosts[i].IsGlobalUnicast() {
			return fmt.Errorf("%w: host %v", errMessage, h)
		}
	}
	for _, l := range r.Lanes {
		if l.Port == 0 || len(l.Mapped) > maxMapped {
			return fmt.Errorf("%w: lane on port %d with %d mappings", errMessage, l.Port, len(l.Mapped))
		}
		for i, a := range l.Mapped {
			l.Mapped[i] = unmap(a)
			if !offerable(l.Mapped[i]) {
				return fmt.Errorf("%w: mapping %v", errMessage, a)
			}
		}
	}
	return nil
}

// offerable tells whether an address may be another side's mapping: with a STUN
// server on one's own machine, what it says is of no use to anybody.
func offerable(a netip.AddrPort) bool {
	ip := a.Addr()
	return dialable(a) && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() && ip.Zone() == ""
}
