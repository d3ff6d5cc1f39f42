// Package transfer sends files over a connection that somebody else has made.
//
// The one side looks at its files and offers them, the other one takes them:
//
//	src, err := transfer.Files([]string{"holiday.mov", "notes.txt"})
//	sum, err := transfer.Send(ctx, conn, src, nil)
//
//	sum, err := transfer.Receive(ctx, conn, ".", nil)
//
// Any net.Conn will do that is ordered, reliable, authenticated and encrypted: a
// *tls.Conn, a net.Pipe in a test. The package never dials and never closes; the
// caller closes the connection when Send or Receive has returned. Progress is
// reported through the hooks of [Trace], failures through the Err values, and
// those of the other side as [RemoteError].
//
// # Threat model
//
// The peer is authenticated and still not trusted: its manifest, names, sizes and
// messages are checked as hostile input, everything it can make this side allocate
// is bounded, and nothing is ever written outside of the one directory or over a
// file that was not given up with Overwrite. Secrecy and integrity on the way are the
// connection's business; the hashes find faulty disks, memory and programs, not
// attackers. A peer that keeps sending heartbeats can keep this side waiting: ctx
// is the bound for that.
//
// # Protocol, version 1
//
// Each side sends frames: one byte of kind, three bytes of length, the body.
// Integers are big-endian.
//
//	sender                              receiver
//	HELLO  ------------------------->            magic, version, oldest version spoken,
//	       <-------------------------  HELLO     role, features (both at once)
//	OFFER  ------------------------->            number of files, bytes of all
//	PAGE   ------------------------->            entries: size, mode, time, name
//	PAGE   ------------------------->            as many as it takes
//	       <-------------------------  ACCEPT    after a look at the disk, and a person's
//	FILE   ------------------------->            index in the manifest
//	DATA   ------------------------->            up to 1 MiB each, the announced size in all
//	FILE-END ----------------------->            BLAKE3 of the file
//	FILE   ------------------------->            the next one: no answer per file
//	…
//	END    ------------------------->            nothing more comes
//	       <-------------------------  RESULT    all are verified and in place
//	BYE    ------------------------->            that was heard: both may close
//
//	PING   <------------------------>            any time, after 5 s without a frame
//	FAIL   <------------------------>            any time: code, message; answered by BYE
//
// After its last frame (RESULT, BYE, FAIL) a side sends nothing, and a side that has
// sent FAIL reads on until the answer: so a connection that is closed never resets
// a word that is still on its way.
//
// Room for later versions: kinds from 0x80 are skipped by those who do not know them,
// as is whatever follows the known fields of a body or a manifest entry; unknown
// features are ignored; a manifest entry has a type, of which only 0, a file,
// exists so far. The hash is plain BLAKE3, a tree whose parts may be computed on
// several cores, in any order, and kept, without a change to what is sent.
package transfer
