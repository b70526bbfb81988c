//! The crate ipc-channel, bytes only: no serialisation.

use super::Link;
use ipc_channel::ipc::{
    IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcSender, bytes_channel,
};

/// One party's ends.
pub(crate) struct IpcChannel {
    tx: IpcBytesSender,
    rx: IpcBytesReceiver,
    room: Vec<u8>,
}

/// Where the first party waits for the second.
pub(crate) struct Server(IpcOneShotServer<(IpcBytesSender, IpcBytesReceiver)>);

/// The server, and its name.
pub(crate) fn serve() -> (Server, String) {
    let (server, name) = IpcOneShotServer::new().expect("a socket");
    (Server(server), name)
}

impl Server {
    pub(crate) fn accept(self) -> IpcChannel {
        let (_, (tx, rx)) = self.0.accept().expect("the second party connects");
        let room = Vec::new();
        IpcChannel { tx, rx, room }
    }
}

impl IpcChannel {
    pub(crate) fn connect(name: String) -> IpcChannel {
        let (there_tx, there_rx) = bytes_channel().expect("a channel");
        let (back_tx, back_rx) = bytes_channel().expect("a channel");
        let server = IpcSender::connect(name).expect("the first party waits");
        server.send((there_tx, back_rx)).expect("it is there");
        IpcChannel {
            tx: back_tx,
            rx: there_rx,
            room: Vec::new(),
        }
    }
}

impl Link for IpcChannel {
    fn send(&mut self, message: &[u8]) {
        self.tx.send(message).expect("the receiver is there");
    }
    fn recv(&mut self) -> &[u8] {
        self.room = self.rx.recv().expect("the sender is there");
        &self.room
    }
}
