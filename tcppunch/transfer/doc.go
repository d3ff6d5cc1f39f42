// Package transfer sends files, folders and pipes over a connection that somebody else
// has made.
//
// The one side looks at its files and offers them, the other one takes them:
//
//	src, err := transfer.Files(ctx, []string{"holiday.mov", "notes"}, nil)
//	sum, err := transfer.Send(ctx, conn, src, nil)
//
//	dst, err := transfer.Into(".")
//	sum, err := transfer.Receive(ctx, conn, dst, nil)
//
// Any net.Conn will do that is ordered, reliable, authenticated and encrypted: a
// *tls.Conn, a net.Pipe in a test. The package never dials; the caller closes the
// connection when Send or Receive has returned. Progress is reported through the hooks of
// [Trace], failures through the Err values, and those of the other side as [RemoteError].
// A failure of single files is an [Incomplete], on both sides: the others are in place.
//
// # Breaks
//
// When the connection breaks, both sides return ErrPeerGone. Called again, over a new
// connection, with the same [Source] and [Dest], they go on with the blocks of 1 MiB that
// are missing:
//
//	for {
//		sum, err = transfer.Send(ctx, conn, src, nil)
//		if !errors.Is(err, transfer.ErrPeerGone) {
//			break
//		}
//		conn = again()
//	}
//
// A new process finds what an earlier one has left by its name and its content: files
// that are complete, and of those that are not, or that have changed, the blocks that are
// the same. Accept is asked again then, unless whoever calls remembers Offer.Digest.
//
// # Threat model
//
// The peer is authenticated and still not trusted: its list, names, sizes, blocks and
// messages are checked as hostile input, everything it can make this side allocate
// is bounded, and nothing is ever written outside of the one folder or over a
// file that was not given up by a [Policy]. Secrecy and integrity on the way are the
// connection's business; the hashes find faulty disks, memory and programs, not
// attackers. A peer that keeps sending heartbeats can keep this side waiting: ctx
// is the bound for that.
//
// # Protocol, version 2
//
// Each side sends frames: one byte of kind, three bytes of length, the body.
// Integers are big-endian. Package internal/wire has their fields.
//
//	sender                              receiver
//	HELLO  ------------------------->            magic, version, oldest version spoken,
//	       <-------------------------  HELLO     role, features (both at once)
//	OFFER  ------------------------->            identity, digest of the list, totals, first names
//	       <-------------------------  ACCEPT    a person's, or at once if it was accepted before
//	PAGE   ------------------------->            entries of the list; 4 may be unanswered
//	       <-------------------------  PLAN      for each: there, send, check so many blocks, failed
//	CHECK  ------------------------->            hashes of the first blocks of a file
//	       <-------------------------  VERDICT   which of them are there
//	BLOCK  ------------------------->            file, number, hash, up to 1 MiB of data
//	FILE   ------------------------->            hash of a file of several blocks: it is complete
//	LOST   ------------------------->            a file that cannot be sent after all
//	       <-------------------------  FAILED    a file that cannot be stored
//	       <-------------------------  ACK       what has been dealt with, and what is in place
//	END    ------------------------->            nothing more comes
//	       <-------------------------  RESULT    all are verified and in place, or have failed
//	BYE    ------------------------->            that was heard: both may close
//
//	PING   <------------------------>            any time, after 2 s without a frame
//	FAIL   <------------------------>            any time: code, message; answered by BYE
//
// The first PAGE may stand right behind the OFFER if the receiver has the feature "page": so
// with the ACCEPT comes its PLAN, and there is one round trip less before the first block.
//
// The list, the blocks and the answers overlap: nothing waits for a round trip but the
// very end. A file of one block needs no FILE, an empty one, a folder or a link
// nothing but its entry. Blocks come in any order, each at most once, and not before a
// verdict if they were asked for. Nobody waits for an ACK: it tells the sender what it may
// forget.
//
// After its last frame (RESULT, BYE, FAIL) a side sends nothing, and a side that has
// sent FAIL reads on until the answer: so a connection that is closed never resets
// a word that is still on its way.
//
// The sender may ask for further connections that carry nothing but blocks:
//
//	STREAM    ---------------------->            number, token: call Extra; 4 may be under way
//	SIGNAL    <--------------------->            words of the one Extra to the other
//	NO-STREAM <--------------------->            it has failed: no more are tried
//	GREETING  <--------------------->            on the new connection: number, token
//
// Room for later versions: kinds from 0x80 are skipped by those who do not know them,
// as is whatever follows the known fields of a body; unknown features are ignored.
package transfer
