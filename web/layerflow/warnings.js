// Warnings and the error of a node's last run: a message when they come, and a line on the node that stays while they
// hold. Newer frontends hide an error's text behind a button; here it is where the work is.

import { app } from '../../../scripts/app.js'
import { api } from '../../../scripts/api.js'
import { addTextWidget } from './text_widget.js'

const CATEGORY = 'LayerFlow'
const KEY = 'layerflow_warnings'
const WIDGET = 'layerflow_warnings'
const SHOWN_FOR = 15000 // milliseconds
const AMBER = '#f0b429'
const RED = '#ff6b6b'

function showToast(node, texts) {
  for (const text of texts) {
    app.extensionManager?.toast?.add({
      severity: 'warn',
      summary: node.title ?? 'LayerFlow',
      detail: text,
      life: SHOWN_FOR
    })
  }
}

function showOnNode(node, texts, colour = AMBER) {
  let widget = node.widgets?.find((candidate) => candidate.name === WIDGET)
  if (!widget && texts.length === 0) {
    return
  }
  if (!widget) {
    widget = addTextWidget(
      node,
      WIDGET,
      'layerflow-warnings',
      { font: '12px sans-serif' },
      {
        getMinHeight: () => (widget?.element.textContent ? 48 : 0),
        getMaxHeight: () => (widget?.element.textContent ? 96 : 0)
      }
    )
  }
  widget.element.style.color = colour
  widget.element.textContent = texts.map((text) => `⚠ ${text}`).join('\n')
  widget.element.hidden = texts.length === 0
  node.setDirtyCanvas?.(true, true)
}

app.registerExtension({
  name: 'layerflow.warnings',

  setup() {
    // A node without warnings reports nothing when it has run, so the old ones go when it starts.
    api.addEventListener('executing', ({ detail }) => {
      const node = app.graph.getNodeById(detail?.node ?? detail)
      if (node) {
        showOnNode(node, [])
      }
    })
    api.addEventListener('execution_error', ({ detail }) => {
      const node = app.graph.getNodeById(detail?.node_id)
      if (node?.constructor?.nodeData?.category?.startsWith(CATEGORY)) {
        showOnNode(node, [String(detail.exception_message).trim()], RED)
      }
    })
  },

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.category?.startsWith(CATEGORY)) {
      return
    }
    const onExecuted = nodeType.prototype.onExecuted

    nodeType.prototype.onExecuted = function (output, ...rest) {
      onExecuted?.call(this, output, ...rest)
      const texts = output?.[KEY] ?? []
      showToast(this, texts)
      showOnNode(this, texts)
    }
  }
})
