// Package pair makes sure that the peer is the one that is meant: in a room of a server that nobody trusts, or inside an
// existing encrypted connection, whose certificates nobody knows. It never dials.
//
// In a room, two people share a short code, such as "4821-otter-lamp". Its first part names the room, and
//
//	sealed, err := pair.Seal(ctx, room, code, initiator)
//
// makes of the room a channel that only the two of them can read or write.
//
// Without a room, two people either share words, such as "abdomen-yogurt-otter", or compare some afterwards. With words, both sides run
//
//	secret, err := pair.NewSecret(own, peers)
//	err = pair.Auth{Secret: secret}.Run(ctx, conn, initiator, exporter)
//
// on every connection. Where both secrets are empty, Run only agrees on that, and on the connection that will be used
// both sides go on with
//
//	words, err := pair.CheckWords(ctx, conn, server, exporter)
//	err = pair.Confirm(ctx, conn, func(ctx context.Context) (bool, error) { /* show words, ask */ })
//
// Two sides that have met before, and exchanged a random [Key] then, need none of this to meet again: [KeyCode] makes a
// code of it for a room, and Auth takes it beside the words, or in their place.
//
// Who keeps an [Identity] is known again by all whom it has met, whatever address it has then. Both sides run
//
//	key, name, err := identity.Introduce(ctx, conn, initiator, exporter, "anna")
//
// and look whether they know the key. If not, they go on with check words, and keep it.
//
// The exporter is tls.ConnectionState.ExportKeyingMaterial of conn, under any label of the caller's, the same on both sides.
//
// # In a room
//
//	initiator                                   responder
//	hello, start                            ->
//	                                        <-  hello, reply with proof
//	proof, sealed messages                  ->
//	                                        <-  sealed messages
//
// This is the same exchange as inside a connection, told below, but bound to the name of the room. Each message is one of
// the room's. A sealed one is AES-256-GCM under a key per direction, which depends on all that was said before; its nonce
// is its number, which is not sent.
//
// # With words
//
//	initiator                                   responder
//	hello(words?), start (if it has words)  ->
//	                                        <-  hello(words?), reply with proof (if both have words)
//	proof (if both have words)              ->
//
// Start and reply are CPace, a balanced PAKE: its key is the same on both sides if the words are, and an
// eavesdropper cannot try words on the messages. The exporter is part of it, so a man in the middle, who has one
// encrypted connection with each side, cannot pass the messages on; in a room, passing them on is the server's task. A proof is an HMAC of all that was said, by a key
// that CPace gave, one key per direction. Each side sends its own before it judges the other's, so both learn the outcome.
//
// # With a key
//
//	initiator                                   responder
//	hello(words?, key), random              ->
//	                                        <-  hello(words?, key), random, proof of the key (if both have one)
//	proof of the key (if both have one)     ->
//
// Each proof is an HMAC by the key, one derived for each role, of all that was said before and of the exporter. If both are right the
// sides have the same key, and that is all. If not, or if only one side has a key, they go on with start, as above, or
// without words. To whoever has another key, or none, a proof is 32 random bytes.
//
// # With an identity
//
//	initiator                                   responder
//	version, key, name, signature           ->
//	                                        <-  version, key, name, signature
//
// Keys and signatures are Ed25519. What is signed is the exporter, the role, and all that was said before with what is said
// now. So a signature is of no use on another connection or in the other direction. The initiator shows its key
// to whoever answers; the responder to whoever has proven to have one.
//
// # Without words
//
//	server                                      client
//	commit SHA-256(nS)                      ->
//	                                        <-  nonce nC
//	open nS                                 ->
//	words = HKDF(exporter, nC, nS)
//	confirm yes or no                      <->  confirm yes or no
//
// # What it is worth
//
// The attacker owns the network: listens, answers in the peer's stead, sits between both. With words each try costs one
// connection and tests one guess, and n words make one in 1296^n; the caller limits the tries, see [Guess] and [Guesses]. In
// a room the server is the network: it can keep the two apart, but learns nothing and can say nothing in their names. With check
// words the attacker has a single try at one in 2^31, if both people look. Who knows the words is trusted, as is
// whoever can read the screens. A key cannot be guessed, so whoever fails at it has learnt nothing and is as welcome as anybody
// who has none: who needs more than words or check words must look at [Auth.ByKey]. An identity proves that the peer is
// the one that had this key the last time; who that was is for check words to tell, once. A name proves nothing at all.
//
// That somebody prevents the connection altogether is not defended against. Words are not stored and the transferred bytes
// do not depend on them: words that leak later give nothing away about earlier connections.
package pair
