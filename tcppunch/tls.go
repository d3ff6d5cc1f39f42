package tcppunch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"
)

const (
	// alpn names the protocol and its version in every handshake.
	alpn = "tcppunch/1"
	// exporterLabel is what Config.Auth's exporter is derived with.
	exporterLabel = "EXPORTER-tcppunch/1"
	exporterLen   = 32
)

// fingerprint is SHA-256 of a certificate.
type fingerprint [sha256.Size]byte

func (f fingerprint) isZero() bool { return f == fingerprint{} }

// identity is one Dial's key and certificate. It is never stored.
type identity struct {
	cert tls.Certificate
	fp   fingerprint
}

func newIdentity() (*identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	// Clocks of the two sides may differ by anything, and nobody checks the
	// dates: they are there because the format wants them.
	tmpl := &x509.Certificate{SerialNumber: serial, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	return &identity{
		cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		fp:   sha256.Sum256(der),
	}, nil
}

var (
	errOwnCertificate   = errors.New("connected to ourselves")
	errOtherCertificate = errors.New("not the certificate that the offer named")
)

// tlsConfig is mutual TLS 1.3 with any certificate but our own, or with the
// pinned one alone.
func (id *identity) tlsConfig(pin fingerprint) *tls.Config {
	return &tls.Config{
		Certificates:           []tls.Certificate{id.cert},
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{alpn},
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
		// Small records at the start of a connection help who shows a part of
		// what is not there yet.
		DynamicRecordSizingDisabled: true,
		// There is no name and no authority to verify: VerifyConnection and
		// Config.Auth decide.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if cs.NegotiatedProtocol != alpn {
				return fmt.Errorf("the other side speaks %q, not %q", cs.NegotiatedProtocol, alpn)
			}
			if len(cs.PeerCertificates) != 1 {
				return errors.New("the other side sent no certificate, or several")
			}
			fp := fingerprint(sha256.Sum256(cs.PeerCertificates[0].Raw))
			if fp == id.fp {
				return errOwnCertificate
			}
			if !pin.isZero() && fp != pin {
				return errOtherCertificate
			}
			return nil
		},
	}
}

// controls tells which side nominates; it is also the TLS client, because a
// TLS client can say something half a round trip earlier than a server that
// wants a certificate. All connections of a Dial must agree on it, also those of
// a local network, which may be there before the two know each other's certificates.
func controls(side Side) bool { return side == SideA }
