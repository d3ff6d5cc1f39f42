// Package store puts what arrives into a folder, and nothing anywhere else.
//
//	s, err := store.Open(dir, &store.Options{Finished: finished})
//	plan, err := s.Place(ctx, i, entry)  // of each entry in the manifest's order
//	f, err := s.File(i)                  // when plan says Check or Send
//	there, err := f.Has(ctx, n, hash)
//	err = f.WriteBlock(n, data)          // any order, any goroutine
//	f.Commit(size)                       // Options.Finished tells how it went
//	err = s.Flush(ctx)
//	err = s.Close()
//
// A file is received under the hidden name name.Partial and takes its own name when it
// is whole and on the disk, so that no name ever shows half a file, whatever stops
// when. Partial files are kept and are what a later run goes on from; the content of
// their blocks, compared by hash, decides what they are worth. On Linux large files
// are put on the disk while they come; File.Pace waits when that is too far behind.
//
// What is in the folder already is hostile as well: a link is never followed, not even
// one that stays inside, a partial file must be a plain file with a single name, and
// nothing is replaced but by the Policy. Folders, devices and pipes are never replaced.
//
// Place is for one goroutine, in the order of the manifest; files may be used by any
// number of goroutines at the same time. The memory of a Store goes with the number of
// entries that were placed and are not finished, not with that of all entries: whoever
// calls has to bound it.
package store
