// Package stunt is where two programs that cannot reach each other yet meet: a server with rooms, and its client. Each
// room holds two members, who name their sides, and the server passes messages between them.
//
//	room, err := stunt.Join(ctx, &stunt.JoinOptions{Server: "stunt.example.org", Side: stunt.SideSend})
//	if err != nil { … }
//	defer room.Close()
//	fmt.Println(room.Name())            // 4821: the other side joins with Room: "4821", Side: stunt.SideRecv
//	meeting, err := room.Meet(ctx)      // either side may come first
//	err = meeting.Send(ctx, message)
//	message, err = meeting.Recv(ctx)
//
// A Room outlives its connection: when that breaks, or the server restarts, the Room rejoins by itself, and Meet goes on
// waiting. A Meeting does not: it ends when either side leaves or loses its connection, and the next Meet returns the
// next one. A message of one meeting never arrives in another.
//
// The server sees which addresses meet in which room, and what they say to each other: what must stay between the two,
// they have to seal. Whoever knows a room's name can come in, so what comes out of a room is to be authenticated.
//
// # On the wire
//
// A member joins with an HTTP request that becomes a WebSocket (RFC 6455), in two round trips:
//
//	GET /v1/join                                101 Switching Protocols
//	Stunt-Join: room=4821&side=recv&token=…     Stunt-Room: 4821
//
// The token is 128 random bits of the member's own. Who comes back with the same token takes the place of its old
// connection. Who made the room is told so (Stunt-Made: 1), and its place is kept for two minutes when its connection
// breaks: others of its side are refused, and who comes as the other side waits for it. A member that joins again adds
// rejoin=1, and made=1 if it made the room, which a server believes that has been restarted since and cannot know: whoever
// came first in the meantime is not the owner. Of two who say so, either can send the other away, and both rejoin.
//
// A refusal is an HTTP error with a body such as
//
//	{"code":"side-taken","message":"somebody is there as send already"}
//
// and a member that is sent away finds the code and the sentence in the reason of the close frame. In between there are
// text messages, of which one side's are
//
//	server to member                            member to server
//	{"type":"met","meeting":7,"first":true}     {"type":"message","meeting":7,"data":"aGVsbG8="}
//	{"type":"message","meeting":7,"data":"…"}   {"type":"drop","meeting":7}
//	{"type":"over","meeting":7}                 {"type":"leave"}
//
// Both sides ping: the client every 20 seconds, the server whoever has been silent for long.
package stunt
